#!/bin/sh
# slurm.conf: TaskEpilog=/etc/slurm/task-epilog.sh  prints the job's joules so far at the end of the job's own output.
# Only the first task of a node speaks.
[ "${SLURM_LOCALID:-0}" = 0 ] || exit 0
exec /usr/lib/wattshed/wattshed-jobs report
