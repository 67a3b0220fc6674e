#!/bin/sh
# A Python of Windows with this package, for Wine: tools/wine/set_up.sh FOLDER, then FOLDER/python as any Python.
#
# Needs Wine 8 (wine), mingw-w64 and Python 3.11 (python3.11). Python's DLLs for Windows come from the wheel of
# panda3d, which brings them for programs made with it, its own modules from the Python that is here. Takes 3 GB.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
repository=$(dirname "$(dirname "$here")")
mkdir -p "$1"
folder=$(cd "$1" && pwd)
python=${PYTHON:-python3.11}
target=$folder/windows
site=$target/Lib/site-packages
cc=x86_64-w64-mingw32-gcc
mkdir -p "$folder/wheels" "$folder/build" "$target/DLLs" "$site"

"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet uv
"$folder/venv/bin/python" -m pip download --quiet --no-deps --only-binary=:all: --platform win_amd64 \
    --python-version 3.11 --dest "$folder/wheels" panda3d msvc-runtime
"$folder/venv/bin/python" - "$folder/wheels" "$target" <<'UNPACK'
import shutil, sys, sysconfig, zipfile
from pathlib import Path

wheels, target = map(Path, sys.argv[1:])
for wheel in wheels.glob("*.whl"):
    with zipfile.ZipFile(wheel) as packed:
        for name in packed.namelist():
            file = Path(name)
            if file.parent.name == "deploy_libs" and not file.name.startswith("api-ms-"):
                place = target if file.name == "python311.dll" else target / "DLLs"
            elif file.parent.as_posix().endswith(".data/data") and file.suffix == ".dll":
                place = target
            else:
                continue
            (place / file.name).write_bytes(packed.read(name))
leave = shutil.ignore_patterns("site-packages", "lib-dynload", "test", "__pycache__", "config-*", "_sysconfigdata*")
shutil.copytree(sysconfig.get_path("stdlib"), target / "Lib", ignore=leave, dirs_exist_ok=True)
UNPACK

cd "$folder/build"
echo "1 24 \"$here/python.manifest\"" > python.rc
x86_64-w64-mingw32-windres python.rc -O coff -o manifest.o
for name in python pythonw; do
    windowed=$([ $name = python ] || echo -mwindows)
    # shellcheck disable=SC2086 # none, or one
    $cc -D_WIN32_WINNT=0x0A00 -municode $windowed -O1 -s -fno-builtin -o "$target/$name.exe" "$here/python.c" manifest.o
done
$cc -shared -s -o "$target/icuuc.dll" "$here/icuuc.c"
cat > random.c <<'RANDOM'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL ProcessPrng(PBYTE data, SIZE_T n) { return SystemFunction036(data, (ULONG)n); }
RANDOM
$cc -shared -s -o "$target/bcryptprimitives.dll" random.c -ladvapi32
# The stable part of Python's interface: all of it leads on to python311.dll.
{
    echo LIBRARY python3
    echo EXPORTS
    x86_64-w64-mingw32-objdump -p "$target/python311.dll" |
        awk '/Ordinal\/Name Pointer/ { on = 1; next } on && /^$/ { exit } on { print " " $NF " = python311." $NF }'
} > python3.def
echo 'int __stdcall DllMainCRTStartup(void *a, unsigned b, void *c) { return 1; }' > python3.c
$cc -shared -nostdlib -nostartfiles -o "$target/python3.dll" python3.c python3.def

uv="$folder/venv/bin/uv pip"
for_windows="--only-binary :all: --python-platform x86_64-pc-windows-msvc --python-version 3.11"
# OpenVINO is left out: where it is there, networks run by it.
# shellcheck disable=SC2086 # options
$uv compile --quiet $for_windows --extra test --no-emit-package openvino --no-emit-package openvino-telemetry \
    --no-emit-package napari-dinoad -o "$folder/lock.txt" "$repository/pyproject.toml"
# shellcheck disable=SC2086
$uv install --quiet $for_windows --python "$folder/venv/bin/python" --no-deps --target "$site" -r "$folder/lock.txt"
# For its entry points; the code is that of the checkout.
"$folder/venv/bin/python" -m pip install --quiet --no-deps --target "$site" --upgrade "$repository"
"$folder/venv/bin/python" -m compileall -q "$target/Lib" >/dev/null || true # of examples for other Pythons

export WINEPREFIX="$folder/prefix" WINEDEBUG=-all
wine reg add 'HKCU\Software\Wine' /v Version /d win10 /f >/dev/null 2>&1
cat > "$folder/python" <<WRAPPER
#!/bin/bash
# Python of Windows by Wine. Its streams are pipes: Wine knows no size or time of a file of Linux that it inherits.
export WINEPREFIX='$folder/prefix' WINEDEBUG=\${WINEDEBUG:--all} PYTHONPATH='Z:$repository/src'
exec 3>&1 4>&2
{ wine '$target/python.exe' "\$@" < <(:) 2> >(cat >&4 2>/dev/null 4>&-) 3>&- | cat >&3 2>/dev/null; exit \${PIPESTATUS[0]}; }
WRAPPER
chmod +x "$folder/python"
"$folder/python" -c 'import napari_dinoad, sys; print(sys.platform, sys.version, napari_dinoad.__file__)'
