#!/bin/sh
# Instructions per publish and per receive, counted by callgrind: exact, so that two versions can be compared.
#
#   benches/instructions.sh [KIND ...]        (default: stream queue topic; 8 and 64 bytes each)
#
# Each figure is the difference of two runs, of 1,024 and of 11,264 events, over 10,240: start-up and the first laps
# cancel out. Two instructions of each figure are the loop around the call. Periodic work (reading
# the readers' cursors, publishing the own cursor) is included with its share. A receive includes reading the payload's first
# word and, of a queue, `done`.
set -eu
cd "$(dirname "$0")/.."
command -v valgrind > /dev/null || { echo "instructions.sh: valgrind is not installed (apt-get install valgrind)" >&2; exit 1; }
CARGO=${CARGO:-cargo}
"$CARGO" build --quiet --release -p railbus-benches --example instructions
program=${CARGO_TARGET_DIR:-target}/release/examples/instructions
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM

# collect KIND BYTES EVENTS FUNCTION: instructions inside the function and what it calls.
collect() {
    valgrind --tool=callgrind --callgrind-out-file="$folder/out" --toggle-collect="*$4*" \
        "$program" "$1" "$2" "$3" 2> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
    count=$(sed -n 's/^totals: //p' "$folder/out")
    if [ "${count:-0}" -lt "$3" ]; then
        echo "instructions.sh: callgrind did not see $4" >&2
        exit 1
    fi
    echo "$count"
}

echo "instructions per event ($(uname -m), $(rustc --version | cut -d" " -f1-2))"
printf '%-8s %6s %10s %10s\n' kind bytes publish receive
for kind in ${*:-stream queue topic}; do
    for bytes in 8 64; do
        figures=
        for function in publish_round receive_round; do
            few=$(collect "$kind" "$bytes" 1024 "$function")
            many=$(collect "$kind" "$bytes" 11264 "$function")
            figures="$figures $(awk -v few="$few" -v many="$many" 'BEGIN { printf "%.1f", (many - few) / 10240 }')"
        done
        # shellcheck disable=SC2086 # two words
        printf '%-8s %6s %10s %10s\n' "$kind" "$bytes" $figures
    done
done
