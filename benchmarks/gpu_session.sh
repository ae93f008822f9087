#!/usr/bin/env bash
# All that is to be measured and checked on a lent or rented GPU, in less than ten minutes.
#
#     benchmarks/gpu_session.sh DIR          on one GPU, results in a new folder
#     benchmarks/gpu_session.sh DIR --dry    on the CPU, in tiny sizes
#
# It needs a Python with this package and the extras predict and dev: torch for the GPU's CUDA, torchvision for that torch,
# mmdet 3.3.0, mmengine, mmcv-lite, msgspec, typer, Pillow, pytest. PYTHON names it; the default is python3. No network is
# used: weights are random, frames are synthetic, and trainings start from scratch on the demo's frames. 16 GB of the GPU's
# memory and 4 GB of disk suffice; eight cores or more keep the readers from being the limit.
#
# Every step is a process with a limit of its own and a log in DIR. A step that fails or runs too long is reported, and the
# others go on. DIR/record.json has all numbers, DIR/tables.md the tables for docs/performance.md. DIR/work, with weights and
# trainings, is removed. A dry run does most of the steps in one process, and its limits are generous.
set -uo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { echo "usage: $0 DIR [--dry]" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
python=${PYTHON:-python3}
dry=("${@:2}")
slack=$((${#dry[@]} ? 6 : 1))
failed=0
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 NO_COLOR=1 COLUMNS=120

line() { # NAME SECONDS COMMAND…
    local name=$1 seconds=$(($2 * slack)) start=$SECONDS status=0
    shift 2
    timeout --kill-after=5 "$seconds" "$@" >"$out/$name.log" 2>&1 || status=$?
    case $status in
        0) printf '%4d s  %s\n' $((SECONDS - start)) "$name" ;;
        124 | 137) printf '%4d s  %s  STOPPED at its limit of %d s; see %s\n' $((SECONDS - start)) "$name" "$seconds" "$out/$name.log" ;;
        *) printf '%4d s  %s  FAILED with status %d; see %s\n' $((SECONDS - start)) "$name" "$status" "$out/$name.log"
           tail -n 3 "$out/$name.log" | sed 's/^/        /' ;;
    esac
    return $status
}
step() { # SECONDS STEP[,STEP…] MODEL
    local name=$2-$3
    line "$name" "$1" "$python" benchmarks/gpu_session.py "${@:2}" --out "$out" "${dry[@]}"
}
together() { # waits for the steps of the background
    local job
    for job in $(jobs -p); do wait "$job" || failed=1; done
}

if ! "$python" benchmarks/gpu_session.py check --out "$out" "${dry[@]}" >"$out/check.log" 2>&1; then
    cat "$out/check.log" >&2
    exit 1
fi
if [ ${#dry[@]} = 0 ]; then
    models=(faster_rcnn_r50_fpn_1x retinanet_r50_fpn_1x cascade_rcnn_r50_fpn_1x)
    trained=(retinanet_r50_fpn_1x faster_rcnn_r50_fpn_1x faster_rcnn_r50_fpn_deconv_1x)
    tests=("$python" -m pytest -q -m gpu -n 0 -p no:cacheprovider)
else
    models=(demo_fcos_r18_fpn)
    trained=(demo_fcos_r18_fpn)
    tests=("$python" -m pytest -q -m gpu -n 0 -p no:cacheprovider --collect-only tests/backends/common/test_devices.py)
fi
first=${models[0]}

step 30 prepare "$first" || failed=1 # writes the frames
for model in "${models[@]:1}"; do step 60 prepare "$model" & done
together

# One after the other: times count, and memory is taken.
steps=()
alone() { # SECONDS STEP MODEL
    if [ ${#dry[@]} = 0 ]; then step "$@" || failed=1; else steps+=("$2"); fi
}
for model in "${models[@]}"; do alone 80 speed "$model"; done
alone 40 profile "$first"
for name in detect-1 detect-2 detect-taken; do alone 25 "$name" "$first"; done
alone 45 memory "$first"
[ ${#steps[@]} = 0 ] || step 60 "$(IFS=,; echo "${steps[*]}")" "$first" || failed=1

line doctor 60 "$python" -m bdd100k_zoo doctor --json &
line pytest 130 "${tests[@]}" &
for model in "${trained[@]}"; do step 130 train "$model" & done
together

"$python" benchmarks/gpu_session.py table --out "$out" "${dry[@]}" | tee "$out/tables.md" || failed=1
rm -rf "$out/work"
echo "$SECONDS s in all; the record is $out/record.json"
exit $failed
