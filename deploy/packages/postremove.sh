#!/bin/sh
# The totals and the recording are data: only Debian's purge, which is asked for by name, takes them.
set -e
case "$1" in
    purge) rm -rf /var/lib/private/wattshed /var/lib/wattshed /var/cache/private/wattshed /var/cache/wattshed ;;
esac
if [ "$1" = purge ]; then
    rmdir --ignore-fail-on-non-empty /etc/wattshed 2>/dev/null || true
fi
[ ! -d /run/systemd/system ] || systemctl daemon-reload
