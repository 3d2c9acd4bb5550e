#!/usr/bin/env bash
# The quickstart: a daemon on the embedded default, a token, a P-256 key made by pkcs11-tool, a certificate made by
# OpenSSL, and nginx serving HTTPS from that key. All in one directory; running it again goes on where it is.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$PWD/build
home=${ANYHSM_QUICKSTART_DIR:-$PWD/quickstart}
port=${ANYHSM_QUICKSTART_PORT:-8443}
module=$build/anyhsm-pkcs11.so
socket=$home/anyhsmd.sock
token=quickstart
nginx=$(command -v nginx || echo /usr/sbin/nginx)
export OPENSSL_CONF=$home/openssl.cnf ANYHSM_CONFIG=$home/module.toml ANYHSM_SOCKET=$socket

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() { echo "quickstart: $*" >&2; exit 1; }
alive() { [ -f "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
anyhsm() { "$build/anyhsm" "$@"; }
tool() { pkcs11-tool --module "$module" --token-label "$token" --login --pin "$(cat "$home/pin")" "$@"; }

end() {
	alive "$1" || return 0
	kill "$2" "$(cat "$1")"
	for _ in $(seq 100); do alive "$1" || return 0; sleep 0.1; done
	fail "process $(cat "$1") does not end; see $home"
}

stop() {
	end "$home/nginx.pid" -QUIT
	end "$home/anyhsmd.pid" -TERM
	echo "Stopped. Everything is still in $home; remove it to start afresh."
}

start_daemon() {
	if alive "$home/anyhsmd.pid"; then
		echo "anyhsmd is running already."
		return
	fi
	rm -f "$home/anyhsmd.pid"
	setsid "$build/anyhsmd" --config "$home/anyhsmd.toml" >>"$home/anyhsmd.log" 2>&1 </dev/null &
	echo $! >"$home/anyhsmd.pid"
	for _ in $(seq 100); do
		anyhsm status >/dev/null 2>&1 && return
		alive "$home/anyhsmd.pid" || break
		sleep 0.1
	done
	tail -5 "$home/anyhsmd.log" >&2
	fail "anyhsmd does not answer; its log is $home/anyhsmd.log"
}

write_configuration() {
	[ -f "$home/anyhsmd.toml" ] || anyhsm init --dir "$home" >/dev/null
	# The OpenSSL configuration is the one of docs/applications/openssl.md.
	sed -n '/^```ini$/,/^```$/p' docs/applications/openssl.md | sed '/^```/d' |
		sed "s|/usr/lib/anyhsm/anyhsm-pkcs11.so|$module|" >"$home/openssl.cnf"
}

make_token() {
	[ -f "$home/pin" ] || (umask 077 && od -An -N4 -tu4 /dev/urandom | tr -d ' ' >"$home/pin")
	[ -f "$home/so-pin" ] || (umask 077 && od -An -N8 -tu8 /dev/urandom | tr -d ' ' >"$home/so-pin")
	anyhsm token show "$token" >/dev/null 2>&1 ||
		anyhsm token create "$token" --user-pin "file:$home/pin" --so-pin "file:$home/so-pin"
	anyhsm app list --json | grep -q '"quickstart"' ||
		anyhsm app add quickstart --user "$(id -u)" --grant "$token:use+create+modify+destroy"
}

serve() {
	if ! alive "$home/nginx.pid"; then
		local user=
		[ "$(id -u)" -ne 0 ] || user="user root;"
		cat >"$home/nginx.conf" <<-END
			$user
			worker_processes 2;
			pid $home/nginx.pid;
			error_log $home/nginx.log info;
			env ANYHSM_CONFIG;
			events { worker_connections 256; }
			http {
			    access_log off;
			    client_body_temp_path $home/tmp;
			    proxy_temp_path $home/tmp;
			    fastcgi_temp_path $home/tmp;
			    uwsgi_temp_path $home/tmp;
			    scgi_temp_path $home/tmp;
			    server {
			        listen 127.0.0.1:$port ssl;
			        ssl_certificate $home/web.crt;
			        ssl_certificate_key "engine:pkcs11:pkcs11:token=$token;object=web;type=private?pin-value=$(cat "$home/pin")";
			        location / { return 200 "This page came over TLS, and its key never left anyhsmd.\n"; }
			    }
			}
		END
		chmod 600 "$home/nginx.conf"
		mkdir -p "$home/tmp"
		"$nginx" -c "$home/nginx.conf" -p "$home" 2>"$home/nginx.start" || {
			cat "$home/nginx.start" >&2
			fail "nginx does not start. If port $port is taken: ANYHSM_QUICKSTART_PORT=9443 make quickstart"
		}
	fi
	curl --silent --show-error --fail --retry 20 --retry-connrefused --retry-delay 1 --cacert "$home/web.crt" "https://localhost:$port/" ||
		fail "no page; nginx's log is $home/nginx.log"
}

start() {
	mkdir -p "$home"
	chmod 755 "$home"
	say "1. The daemon, with its own encrypted keystore"
	write_configuration
	start_daemon
	anyhsm status
	say "2. A token and an application that may use it (PINs: $home/pin, $home/so-pin)"
	make_token
	say "3. A P-256 key, made by pkcs11-tool through $module"
	tool --list-objects --type privkey 2>/dev/null | grep -q 'label: *web$' ||
		tool --keypairgen --key-type EC:prime256v1 --label web --id 01 --usage-sign >/dev/null 2>&1
	tool --list-objects 2>/dev/null
	say "4. A certificate, made by OpenSSL with that key"
	[ -f "$home/web.crt" ] ||
		openssl req -new -x509 -sha256 -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost -engine pkcs11 -keyform engine \
			-key "pkcs11:token=$token;object=web;type=private?pin-value=$(cat "$home/pin")" -out "$home/web.crt" 2>"$home/openssl.log" || {
		cat "$home/openssl.log" >&2
		fail "OpenSSL made no certificate"
	}
	openssl x509 -in "$home/web.crt" -noout -subject -fingerprint -sha256
	say "5. nginx serves https://localhost:$port/ from it, and curl fetches a page"
	serve

	say "What is where"
	cat <<-END
		  $home/anyhsmd.toml   the daemon's configuration; log: anyhsmd.log
		  $home/state          the store, keys sealed under the root key beside it
		  $home/module.toml    the module's configuration (ANYHSM_CONFIG)
		  $home/openssl.cnf    OpenSSL's engine with our module (OPENSSL_CONF)
		  $home/nginx.conf     nginx; log: nginx.log
	END
	say "How to go on"
	cat <<-END
		  export ANYHSM_SOCKET=$socket ANYHSM_CONFIG=$home/module.toml
		  $build/anyhsm key list --token $token      what the token holds
		  $build/anyhsm audit tail                   who used which key
		  $build/anyhsm doctor                       what an application's module sees, and why not
		  pkcs11-tool --module $module --list-slots
		  docs/applications/                         nginx, OpenSSL, Java, pkcs11-tool
		  make quickstart-stop                       ends nginx and the daemon
	END
}

case ${1:-} in
start) start ;;
stop) stop ;;
*) fail "usage: $0 start|stop" ;;
esac
