# Sourced by quickstart.sh and run_tests.sh: makes one Python environment with pip alone, and reuses it.
#
#   structkd_env EXTRAS        EXTRAS as in pyproject.toml, such as train or train,dev; sets PYTHON, the interpreter to use
#
# What it listens to:
#   STRUCTKD_VENV              the environment's folder (default: .venv in the repository)
#   STRUCTKD_PYTHON            the interpreter to build it with (default: the first of python3, python3.13 ... that fits)
#   STRUCTKD_TORCH_INDEX       one more wheel index for torch, such as PyTorch's own for CPU or for an older CUDA driver
#
# A stamp in the environment says what was installed from which pins, so a second run starts at once.
# Works in bash 3.2, the one macOS has.

structkd_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

structkd_fail() {
    printf '\nerror: %s\n' "$*" >&2
    return 1
}

structkd_fits() {  # INTERPRETER: is it there, and a Python that we support?
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

structkd_find_python() {
    local candidate
    if [ -n "${STRUCTKD_PYTHON:-}" ]; then
        structkd_fits "$STRUCTKD_PYTHON" && { echo "$STRUCTKD_PYTHON"; return; }
        structkd_fail "STRUCTKD_PYTHON=$STRUCTKD_PYTHON is not a Python from 3.10 to 3.13."
        return 1
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
        structkd_fits "$candidate" && { command -v "$candidate"; return; }
    done
    structkd_fail "no Python from 3.10 to 3.13 was found (looked for python3, python3.10 ... python3.13 and python)." \
        "Install one, or name it: STRUCTKD_PYTHON=/path/to/python bash tools/quickstart.sh"
}

structkd_step() {  # TITLE COMMAND...: runs it, on a terminal in full view, otherwise into a log whose end an error shows
    local title=$1 start=$SECONDS status=0
    shift
    printf '  %s ...\n' "$title"
    if [ -t 1 ]; then "$@" || status=$?; else "$@" >>"$structkd_log" 2>&1 || status=$?; fi
    if [ "$status" -ne 0 ]; then
        [ -t 1 ] || tail -n 25 "$structkd_log" >&2
        structkd_fail "$title: failed (exit status $status; log: $structkd_log)."
        return 1
    fi
    printf '  %s: %d s\n' "$title" $((SECONDS - start))
}

structkd_constraints=$structkd_root/third_party/constraints.txt

structkd_pip() {
    "$PYTHON" -m pip install --no-input --disable-pip-version-check -c "$structkd_constraints" "$@"
}

structkd_pins() {  # EXTRAS: the pins; mmdet3d's own stand in the place of those of the same name
    local own=$structkd_root/third_party/constraints-mmdet3d.txt common=$structkd_root/third_party/constraints.txt
    case ",$1," in
        *,mmdet3d,*) awk -F '==' '/^#/ { next } NR == FNR { own[tolower($1)]; print; next } !(tolower($1) in own)' "$own" "$common" ;;
        *) cat "$common" ;;
    esac
}

structkd_make_venv() {  # Some systems ship Python without ensurepip; a pip elsewhere on the machine then steps in.
    local base=$1 venv=$2
    "$base" -m venv --clear "$venv" && return
    echo "venv could not bring its own pip; trying with the pip of $base"
    if "$base" -m pip --version && "$base" -m venv --clear --without-pip "$venv"; then
        "$base" -m pip install --target "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" pip
        return
    fi
    rm -rf "$venv"
    echo "$base has neither a working venv module nor pip, and nothing can be installed without either." \
        "Install them with the system's package manager (Debian and Ubuntu: apt install python3-venv)," \
        "or name another interpreter: STRUCTKD_PYTHON=/path/to/python"
    return 1
}

structkd_torch() {  # KIND (cpu or cuda): the build of torch that fits the machine
    local kind=$1 version index=""
    version=$(sed -n 's/^torch==//p' "$structkd_root/third_party/constraints.txt")
    [ -z "${STRUCTKD_TORCH_INDEX:-}" ] || index="--extra-index-url=$STRUCTKD_TORCH_INDEX"
    if [ "$kind" = cuda ]; then
        # "===" takes the build without a local version, which is the CUDA one, even where an index also has +cpu.
        if [ -z "$index" ] && structkd_pip "torch===$version"; then return; fi
    elif [ "$(uname -s)" = Linux ]; then  # elsewhere the default build is the CPU one
        structkd_pip ${index:+"$index"} "torch==$version+cpu" && return
        echo "No index offers torch $version+cpu: taking the default build, which may bring gigabytes of CUDA libraries." \
            "To avoid them, stop here and set STRUCTKD_TORCH_INDEX to PyTorch's index of CPU wheels" \
            "(the address that pytorch.org shows for pip and CPU)."
    fi
    structkd_pip ${index:+"$index"} "torch==$version"
}

structkd_opencv() {  # mmengine needs cv2, whose usual build needs the graphics libraries of a desktop.
    local version
    "$PYTHON" -c 'import cv2' && return
    version=$("$PYTHON" -c 'from importlib.metadata import version; print(version("opencv-python"))') || return
    echo "opencv-python does not load here (see above); replacing it by opencv-python-headless $version"
    "$PYTHON" -m pip uninstall --yes --disable-pip-version-check opencv-python
    structkd_pip --force-reinstall --no-deps "opencv-python-headless==$version" && "$PYTHON" -c 'import cv2'
}

structkd_env() {
    local wanted=$1 venv kind=cpu stamp state installed="" extra extras start=$SECONDS base
    venv=${STRUCTKD_VENV:-$structkd_root/.venv}
    PYTHON=$venv/bin/python
    stamp=$venv/structkd.stamp
    structkd_log=$venv/structkd-install.log
    if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then kind=cuda; fi

    # The stamp: line 1 the pins, the project file, the place and the kind of machine; line 2 the extras installed so far.
    state=$(cat "$structkd_root"/third_party/constraints*.txt "$structkd_root/pyproject.toml" | cksum)
    state="$state $kind ${STRUCTKD_TORCH_INDEX:-} $structkd_root"
    [ ! -f "$stamp" ] || installed=$(sed -n 2p "$stamp")
    extras=$installed
    for extra in $(printf '%s' "$wanted" | tr , ' '); do
        case ",$extras," in *",$extra,"*) ;; *) extras=${extras:+$extras,}$extra ;; esac
    done
    if [ "$extras" = "$installed" ] && [ "$(sed -n 1p "$stamp")" = "$state" ] && structkd_fits "$PYTHON"; then
        return
    fi

    echo "Preparing the environment in $venv (extras: $extras; the first time takes a minute or more)"
    if ! "$PYTHON" -m pip --version >/dev/null 2>&1 || ! structkd_fits "$PYTHON"; then
        if [ -d "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
            structkd_fail "$venv exists and is no Python environment: empty it, or set STRUCTKD_VENV to another folder."
            return 1
        fi
        base=$(structkd_find_python) || return 1
        structkd_log=$(mktemp)  # the environment's folder is emptied while it is made
        structkd_step "environment from $base" structkd_make_venv "$base" "$venv" || return 1
        mv "$structkd_log" "$venv/structkd-install.log"
        structkd_log=$venv/structkd-install.log
    fi
    rm -f "$stamp"
    structkd_constraints=$venv/structkd-constraints.txt
    structkd_pins "$extras" >"$structkd_constraints" || return 1
    structkd_step "pip and setuptools" structkd_pip "pip>=23.1" setuptools || return 1
    structkd_step "torch for $kind" structkd_torch "$kind" || return 1
    structkd_step "structkd[$extras] and what it needs" \
        structkd_pip --no-build-isolation --editable "$structkd_root[$extras]" || return 1
    structkd_step "check of OpenCV" structkd_opencv || return 1
    # Its first import writes a grammar into the user's cache (yapf's), which two processes must not do at once.
    structkd_step "check of mmengine" "$PYTHON" -c 'import importlib.util as u; u.find_spec("mmengine") and __import__("mmengine")' || return 1
    structkd_step "check of torch" "$PYTHON" -c 'import torch, torch_geometric' || return 1
    "$PYTHON" - "$kind" <<'PY'
import platform, sys
import torch
print(f"  Python {platform.python_version()}, torch {torch.__version__}")
if sys.argv[1] == "cuda" and not torch.cuda.is_available():
    print(
        f"  note: this machine has an NVIDIA GPU, but torch (CUDA {torch.version.cuda}) cannot use it, mostly because the "
        "driver is older than that CUDA. Everything runs on the CPU. Update the driver, or set STRUCTKD_TORCH_INDEX to "
        "PyTorch's wheel index for the CUDA version that nvidia-smi shows."
    )
PY
    printf '%s\n%s\n' "$state" "$extras" >"$stamp"
    echo "Environment ready after $((SECONDS - start)) s"
}
