#!/bin/sh
# What a real napari window needs on Debian and Ubuntu: a virtual screen and software OpenGL; and for tests dcm2niix,
# an independent DICOM converter that the reader is compared with, and other countries' ways to write numbers.
# Installs them when they are missing and we are root; otherwise says what to install.
set -eu
packages="xvfb libgl1-mesa-dri libgl1 libegl1 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-image0
    libxcb-keysyms1 libxcb-render-util0 libxcb-shape0 libdbus-1-3 dcm2niix locales"
command -v dpkg-query >/dev/null 2>&1 || exit 0
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "Install for napari's window and the tests: sudo apt-get install$missing" >&2
fi
