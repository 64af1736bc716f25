#!/bin/sh
# Debian says "configure [old version]", rpm says how many are installed: 1 the first, 2 an upgrade.
# Kernels are in the package, compiled; nothing is compiled here.
set -e
case "$1" in
    configure) if [ -n "$2" ]; then upgrade=1; else upgrade=; fi ;;
    1) upgrade= ;;
    2) upgrade=1 ;;
    *) exit 0 ;;
esac
if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers wattshed.conf
    systemd-tmpfiles --create wattshed.conf || true # a container may not chown; nothing depends on it there
fi
if [ -d /run/udev ] && command -v udevadm >/dev/null; then
    udevadm control --reload || true
    udevadm trigger --subsystem-match=powercap --subsystem-match=hwmon || true
fi
if command -v systemctl >/dev/null; then
    [ -n "$upgrade" ] || systemctl enable --quiet wattshed.service || true
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        # Not waited for: ready means that a window was accounted, and a wrong configuration must not break the package.
        if [ -n "$upgrade" ]; then
            systemctl --no-block try-restart wattshed.service wattshed-collect.service \
                wattshed-ipmi.service wattshed-redfish.service
        else
            systemctl --no-block start wattshed.service
        fi
    fi
fi
