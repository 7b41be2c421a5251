#!/usr/bin/env bash
# Makes the Debian package: programs, unit, configuration, manual pages, completions. Looks into it afterwards.
set -euo pipefail

usage() {
    cat <<'END'
Usage: configs/package.sh [--quick]

  (nothing)    build for release, write target/debian/bypassd_VERSION_ARCH.deb
  --quick      the same of an unoptimised build, into target/debian/quick: for tests of the package itself
  -h           this text

Needs cargo-deb (cargo install --locked cargo-deb) and dpkg-dev.
END
}

profile=release folder=debian
for arg in "$@"; do
    case $arg in
        --quick) profile=dev folder=debian/quick ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin"
for tool in cargo-deb:cargo-deb dpkg-shlibdeps:dpkg-dev dpkg-deb:dpkg; do
    command -v "${tool%:*}" >/dev/null || { echo "package.sh: ${tool%:*} is missing (${tool#*:})" >&2; exit 1; }
done
target=target/$folder
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
fail() { echo "package.sh: $*" >&2; exit 1; }

cargo build --profile "$profile" --package control --bins --locked
rm -rf target/manual # a page of a word that is gone must not be packed
cargo run --quiet --package control --example manual --locked -- target/manual "$(git log -1 --format=%cs 2>/dev/null || true)"
rm -rf "$target"
mkdir -p "$target"
cargo deb --package control --profile "$profile" --no-build --no-dbgsym --locked --quiet --output "$target"

packages=("$target"/*.deb)
[ ${#packages[@]} -eq 1 ] || fail "not one package but ${packages[*]}"
package=${packages[0]}
dpkg-deb -x "$package" "$place"
dpkg-deb -e "$package" "$place/DEBIAN"

while read -r mode file; do
    [ -f "$place/$file" ] || fail "$file is missing"
    [ "$(stat -c %a "$place/$file")" = "$mode" ] || fail "$file has mode $(stat -c %a "$place/$file"), not $mode"
done <<'END'
755 usr/bin/bypassd
755 usr/bin/bypassctl
644 etc/bypassd/bypassd.toml
644 usr/lib/sysusers.d/bypassd.conf
644 usr/lib/tmpfiles.d/bypassd.conf
644 usr/lib/udev/rules.d/60-bypassd.rules
644 usr/share/bash-completion/completions/bypassd
644 usr/share/bash-completion/completions/bypassctl
644 usr/share/doc/bypassd/copyright
644 usr/share/doc/bypassd/examples/one-nic.toml
644 usr/share/doc/bypassd/examples/lab.conf
END
for page in man1/bypassctl.1 man5/bypassd.toml.5 man8/bypassd.8 man8/bypassd-run.8; do
    [ -f "$place/usr/share/man/$page.gz" ] || [ -f "$place/usr/share/man/$page" ] || fail "the page $page is missing"
done
unit=$(find "$place" -name bypassd.service)
[ "$(wc -w <<<"$unit")" -eq 1 ] || fail "not one unit but: $unit"
[ "$(cat "$place/DEBIAN/conffiles")" = /etc/bypassd/bypassd.toml ] || fail "conffiles: $(cat "$place/DEBIAN/conffiles")"
depends=$(dpkg-deb -f "$package" Depends)
for library in libc6 librte-eal librte-ethdev librte-meta-net; do
    [[ $depends == *$library* ]] || fail "does not depend on $library: $depends"
done
for script in postinst prerm postrm; do
    [ -x "$place/DEBIAN/$script" ] || fail "no $script"
    sh -n "$place/DEBIAN/$script"
    ! grep -q DEBHELPER# "$place/DEBIAN/$script" || fail "$script is unfinished"
    ! grep -Eq '(deb-systemd-invoke|systemctl).* (start|enable) ' "$place/DEBIAN/$script" || fail "$script starts the service"
done
grep -q systemd-sysusers "$place/DEBIAN/postinst" || fail "postinst makes no user"
# The programs that were packed, with the configuration that was packed: it must be taken, whatever this machine lacks.
"$place/usr/bin/bypassctl" --version >/dev/null
status=0
said=$("$place/usr/bin/bypassd" run --config "$place/etc/bypassd/bypassd.toml" --root /nonexistent 2>&1) || status=$?
[ "$status" -eq 1 ] || fail "the packed configuration is not taken (status $status): $said"

echo "$package: $(du -h "$package" | cut -f1), $(find "$place" -type f -not -path '*/DEBIAN/*' | wc -l) files"
echo "Depends: $depends"
