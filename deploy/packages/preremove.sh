#!/bin/sh
# "remove" (Debian) or 0 left (rpm) is the end; "upgrade" or 1 is not: the new version restarts the service.
set -e
case "$1" in
    remove | 0)
        if command -v systemctl >/dev/null; then
            units="wattshed.service wattshed-collect.service wattshed-ipmi.service wattshed-redfish.service"
            # shellcheck disable=SC2086 # several words
            [ ! -d /run/systemd/system ] || systemctl stop $units
            # shellcheck disable=SC2086
            systemctl disable --quiet $units || true
        fi
        ;;
esac
