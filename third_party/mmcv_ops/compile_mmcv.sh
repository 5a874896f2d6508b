#!/usr/bin/env bash
# A compiled mmcv 2.1.0 for the CPU, to compare with (python -m mmcv_ops.compare): its own sources, unchanged, but taken
# together in three units instead of 77 files, which takes 90 s of CPU time instead of 1250.
#
#   bash third_party/mmcv_ops/compile_mmcv.sh PYTHON FOLDER
#
# PYTHON   interpreter with torch, pip, and g++ on the path
# FOLDER   gets the package mmcv; put it in front: PYTHONPATH=FOLDER PYTHON -m mmcv_ops.compare
set -euo pipefail
python=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
cd "$folder"
"$python" -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation mmcv==2.1.0
tar xzf mmcv-2.1.0.tar.gz
csrc=$folder/mmcv-2.1.0/mmcv/ops/csrc
{
    for file in "$csrc"/pytorch/*.cpp; do
        case $file in */pybind.cpp) ;; *) echo "#include \"$file\"" ;; esac
    done
} >front.cpp
{
    echo '#include "pytorch_cpp_helper.hpp"'
    # Some files have helpers of the same names, and psamask.cpp defines macros min and max, so it comes last.
    for file in "$csrc"/pytorch/cpu/*.cpp; do
        name=$(basename "$file" .cpp)
        [ "$name" != psamask ] || continue
        for helper in PreCalc bilinear_interpolate bilinear_interpolate_gradient pre_calc_for_bilinear_interpolate add; do
            case $name in bezier_align | roi_align | roi_align_rotated | rotated_feature_align)
                echo "#define $helper ${helper}_$name" ;;
            esac
        done
        echo "#include \"$file\""
        for helper in PreCalc bilinear_interpolate bilinear_interpolate_gradient pre_calc_for_bilinear_interpolate add; do
            echo "#undef $helper"
        done
    done
    echo "#include \"$csrc/pytorch/cpu/psamask.cpp\""
} >cpu.cpp
cp "$csrc/pytorch/pybind.cpp" pybind.cpp
torch=$("$python" -c 'import torch; print(torch.__path__[0])')
python_headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
suffix=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
for unit in front cpu pybind; do
    g++ -O2 -w -fPIC -fwrapv -DNDEBUG -std=c++17 -DTORCH_API_INCLUDE_EXTENSION_H -DTORCH_EXTENSION_NAME=_ext \
        -I"$csrc/common" -I"$csrc/pytorch" -I"$torch/include" -I"$torch/include/torch/csrc/api/include" \
        -I"$python_headers" -c $unit.cpp -o $unit.o
done
rm -rf mmcv
cp -r mmcv-2.1.0/mmcv mmcv
g++ -shared front.o cpu.o pybind.o -L"$torch/lib" -lc10 -ltorch -ltorch_cpu -ltorch_python -o "mmcv/_ext$suffix"
PYTHONPATH=$folder "$python" -c 'import torch, mmcv._ext; print(mmcv._ext.__file__)'
