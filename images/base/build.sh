#!/usr/bin/env bash
# build.sh IMAGE: the base of our images, made from Debian's own packages where no registry can be reached.
# Elsewhere the Dockerfiles start from debian:bookworm-slim, and install what this one already has.
# MIRROR names another Debian mirror. Needs root, debootstrap and buildah.
set -euo pipefail

image=${1:?usage: build.sh IMAGE}
packages=python3.11,libpython3.11,ca-certificates
root=$(mktemp -d /var/tmp/fastserve-base.XXXXXX)
trap 'rm -rf -- "$root"' EXIT
chmod 755 "$root"

# Without Debian's keys debootstrap would only warn, and install what nobody signed.
debootstrap --force-check-gpg --variant=minbase --include="$packages" bookworm "$root" ${MIRROR:+"$MIRROR"}
# What a container never reads: package lists and archives, manuals, translations, logs of this very run, and
# device nodes, which only root could unpack again.
rm -rf -- "$root"/dev/* "$root"/var/lib/apt/lists/* "$root"/var/cache/{apt,debconf,ldconfig}/* "$root"/var/log/* \
  "$root"/usr/share/{doc,info,locale,man}/* "$root"/debootstrap
: > "$root/etc/machine-id"
: > "$root/etc/hostname"
: > "$root/etc/resolv.conf"

container=$(buildah from scratch)
trap 'buildah rm "$container" > /dev/null; rm -rf -- "$root"' EXIT
buildah add --quiet "$container" "$root" /
buildah config --cmd /bin/bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  --env LANG=C.UTF-8 --label org.opencontainers.image.title=fastserve-base "$container"
buildah commit --quiet "$container" "$image"
