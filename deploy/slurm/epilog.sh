#!/bin/sh
# slurm.conf: Epilog=/etc/slurm/epilog.d/*  (link or copy this file there)
exec /usr/lib/wattshed/wattshed-jobs epilog
