#!/bin/sh
# Unpacks Debian's picture packages into a folder, without installing them: sh install.sh DIR
set -eu
into=${1:-debian}
mkdir -p "$into"
cd "$into"
for package in openclipart-svg sweethome3d-furniture tuxpaint-stamps-default dataset-fashion-mnist \
  python3-skimage python3-sklearn lomiri-wallpapers-16.04; do
  [ -e "$package/.whole" ] && continue
  apt-get download "$package"
  mkdir -p "$package"
  dpkg-deb -x "$package"_*.deb "$package"
  rm "$package"_*.deb
  touch "$package/.whole"
done
for catalogue in sweethome3d-furniture/usr/share/sweethome3d/furniture/*.sh3f; do
  unzip -qo "$catalogue" -d "furniture/$(basename "$catalogue" .sh3f)"
done
