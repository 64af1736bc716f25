#!/bin/sh
# The totals and the recording are data: only Debian's purge, which is asked for by name, takes them.
set -e
case "$1" in
    purge)
        for folder in /var/lib/private /var/lib /var/cache/private /var/cache; do
            rm -rf "$folder/wattshed" "$folder/wattshed-collect"
        done
        ;;
esac
if [ "$1" = purge ]; then
    rmdir --ignore-fail-on-non-empty /etc/wattshed 2>/dev/null || true
fi
[ ! -d /run/systemd/system ] || systemctl daemon-reload
