#!/usr/bin/env bash
# Measures what a check costs as keys, entries of a list and threads grow, prints the numbers, and draws benches/scale.svg of them.
# Wants gnuplot (Debian: gnuplot-nox); a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
numbers=$(mktemp)
trap 'rm -f "$numbers"' EXIT
cargo bench --quiet --bench scale | tee "$numbers"
gnuplot <<PLOT
set terminal svg size 900,680 font 'sans-serif,12' background '#ffffff'
set output 'benches/scale.svg'
set datafile separator '\t'
set multiplot layout 2,2 title 'What a check costs as things grow (medians; read as ratios)'
set grid; set key top left; set logscale x; set format x '10^{%L}'; set yrange [0:]
of(series, n) = (strcol(1) eq series) ? column(n) : NaN
set title 'Rate limiter'; set xlabel 'keys, all seen before'; set ylabel 'ns per check'
plot '$numbers' using (of('check by keys', 2)):3 with linespoints pt 7 notitle
set title 'IP set'; set xlabel 'entries, 70 % IPv4'; set ylabel 'ns per look-up'
plot '$numbers' using (of('look-up by entries', 2)):3 with linespoints pt 7 notitle
unset logscale x; set format x '%g'; set xtics 1; set xrange [0.8:*]
set key bottom left; set title 'Threads, measured'; set xlabel 'threads'; set ylabel 'million checks per second'
plot '$numbers' using (of('one key, million checks/s by threads', 2)):3 with linespoints pt 7 title 'one key', \
     '$numbers' using (of('a key each, million checks/s by threads', 2)):3 with linespoints pt 5 title 'a key each'
set xtics auto; set logscale x 2; set xrange [1:40]
set title 'One key, by the model'; set yrange [0:*]; set xlabel 'threads'
plot '$numbers' using (of('one key by the model, million checks/s by threads', 2)):3 with linespoints pt 7 title '1 / (2 transfers + 1 check)'
PLOT
echo "drawn: benches/scale.svg"
