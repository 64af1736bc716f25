#!/bin/sh
# "remove" (Debian) or 0 left (rpm) is the end; "upgrade" or 1 is not: the new version restarts the service.
set -e
case "$1" in
    remove | 0)
        if command -v systemctl >/dev/null; then
            [ ! -d /run/systemd/system ] || systemctl stop wattshed.service wattshed-collect.service
            systemctl disable --quiet wattshed.service wattshed-collect.service || true
        fi
        ;;
esac
