# shellcheck shell=bash
# What the scripts share: what the machine must have, where the binary is, and how a test cluster names its things.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() { echo "skep: $*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "this needs root (network namespaces, mounts and cgroups): run it with sudo."; }

# need_packages NAME=COMMAND-OR-FILE…: installs the Debian packages whose command or file is missing.
need_packages() {
  local want=() pair
  for pair in "$@"; do
    command -v "${pair#*=}" >/dev/null 2>&1 || [ -e "${pair#*=}" ] || want+=("${pair%%=*}")
  done
  [ ${#want[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || die "missing: ${want[*]} (and this is no Debian or Ubuntu to install them on)."
  echo "installing ${want[*]}" >&2
  apt-get install -y -qq "${want[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${want[@]}" >/dev/null; } ||
    die "could not install ${want[*]}."
}

run_packages() { need_packages iproute2=ip nftables=nft busybox-static=/bin/busybox procps=pgrep util-linux=nsenter mount=mount libseccomp2=/usr/lib/"$(uname -m)"-linux-gnu/libseccomp.so.2; }
build_packages() {
  need_packages gcc=cc pkg-config=pkg-config libseccomp-dev=/usr/include/seccomp.h cmake=cmake make=make libc6-dev=/usr/include/stdio.h
  command -v cargo >/dev/null || die "missing: Rust 1.95 or newer (cargo)."
}

# One sentence about the first thing the kernel lacks.
need_kernel() {
  local probe; probe=$(mktemp -d)
  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || die "this kernel has no overlayfs."
  mkdir "$probe/l" "$probe/u" "$probe/w" "$probe/m"
  unshare -m mount -t overlay overlay -o "lowerdir=$probe/l,upperdir=$probe/u,workdir=$probe/w" "$probe/m" 2>/dev/null ||
    { rm -rf "$probe"; die "cannot mount overlayfs below ${TMPDIR:-/tmp}: set TMPDIR to a directory on a plain filesystem."; }
  rm -rf "$probe"
  unshare -n true 2>/dev/null || die "this kernel (or sandbox) does not let root make network namespaces."
  [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/memory ] || die "no cgroup hierarchy is mounted on /sys/fs/cgroup."
}

# The binary to use: $SKEP_BIN, else the newest build of this checkout.
skep_bin() {
  if [ -n "${SKEP_BIN:-}" ]; then echo "$SKEP_BIN"; return; fi
  local newest
  newest=$(ls -t "${CARGO_TARGET_DIR:-$root/target}"/{release,debug}/skep 2>/dev/null | head -1)
  [ -n "$newest" ] || die "no skep binary yet: run 'cargo build --release --bin skep'."
  echo "$newest"
}
