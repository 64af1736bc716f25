#!/bin/sh
# slurm.conf: Prolog=/etc/slurm/prolog.d/*  (link or copy this file there)
exec /usr/lib/wattshed/wattshed-jobs prolog
