#!/usr/bin/env bash
# Installs the Debian packages named below that are missing. Needs root or sudo only if there are any.
# With the argument "quickstart" only what the quickstart uses.
set -euo pipefail

packages=(
	gcc libc6-dev make git  # the module is cgo
	opensc                  # pkcs11-tool
	openssl libengine-pkcs11-openssl
	nginx-light curl
)
if [ "${1:-}" != quickstart ]; then
	packages+=(
		softhsm2                # the reference HSM
		libnss3 libnss3-tools   # Firefox's softokn behind the provider hsm, and certutil
		opencryptoki            # IBM's soft token behind the provider hsm; tests run a pkcsslotd of their own
		p11-kit p11-kit-modules # the remote that make bench compares with
		python3-pykmip          # a KMIP server
		openjdk-17-jdk-headless # SunPKCS11 and keytool
		libp11-kit-dev pkgconf  # the header to compare with
		gnutls-bin              # p11tool
		gdb                     # core dumps of a running host
		iproute2                # network namespaces, which make test-chaos cuts
		postgresql              # the store of several daemons; tests run servers of their own
	)
fi

# A package counts as there if its command is, so that a machine with another nginx or JDK is left as it is.
missing=()
for package in "${packages[@]}"; do
	case $package in
	nginx-light) command -v nginx >/dev/null && continue ;;
	postgresql) compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && continue ;;
	openjdk-17-jdk-headless) command -v keytool >/dev/null && command -v javac >/dev/null && continue ;;
	esac
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || {
		echo "These packages are missing: ${missing[*]}. Install them as root, or install sudo, and run this again." >&2
		exit 1
	}
	sudo=sudo
fi
echo "Installing: ${missing[*]}"
$sudo apt-get update -qq
# Services of these packages must not start: tests and quickstart run their own nginx.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod 755 $policy
	trap '$sudo rm -f $policy' EXIT
fi
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
