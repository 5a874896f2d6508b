#!/usr/bin/env bash
# Write the tables of the config READMEs anew, from the results files kept in the repository. Trains nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=python
[ ! -x "${STRUCTKD_VENV:-.venv}/bin/python" ] || python=${STRUCTKD_VENV:-.venv}/bin/python
results=configs/graphs/compare/results

table() {  # FOLDER EXPERIMENT STAGE...: the table of some stages into the section of that name
    local folder=$1 experiment=$2
    shift 2
    "$python" tools/report.py "$results/$experiment.json" --stages "$@" \
        --markdown "configs/graphs/$folder/README.md" --section "$experiment"
}

table glnn cora_cpf teacher plain glnn
table glnn citeseer_cpf teacher plain glnn
table glnn cora_cpf_ind teacher plain glnn
table glnn citeseer_cpf_ind teacher plain glnn
table ff_g2m cora_public teacher plain glnn ffg2m ffg2m_low ffg2m_high
table ff_g2m citeseer_public teacher plain glnn ffg2m ffg2m_low ffg2m_high
table ff_g2m cs_public teacher plain glnn ffg2m
table ff_g2m photo_cpf teacher plain glnn ffg2m
table vqgraph cora_cpf plain glnn tokenizer vqgraph vqgraph_labels
table vqgraph citeseer_cpf plain glnn tokenizer vqgraph vqgraph_labels
table nosmog cora_cpf teacher plain glnn nosmog
table krd cora_public teacher plain glnn krd
table krd citeseer_public teacher plain glnn krd
table hgmd cora_public teacher plain glnn hgmd
table hgmd citeseer_public teacher plain glnn hgmd
table tined cora_cpf teacher plain glnn tined
table tined citeseer_cpf teacher plain glnn tined
for experiment in digits cora_cpf citeseer_cpf photo_cpf cora_cpf_ind citeseer_cpf_ind cora_public citeseer_public \
    cs_public; do
    "$python" tools/report.py "$results/$experiment.json" --markdown configs/graphs/compare/README.md --section "$experiment"
done
"$python" tools/report.py "$results/digits.json" --markdown README.md --section digits
overview=()
for experiment in cora_cpf citeseer_cpf photo_cpf cora_cpf_ind citeseer_cpf_ind cora_public citeseer_public cs_public; do
    overview+=("$results/$experiment.json")
done
"$python" tools/report.py "${overview[@]}" --stages teacher plain glnn ffg2m --markdown README.md --section overview
"$python" tools/benchmark.py graphs --load tools/benchmarks/results/graphs_arxiv_cpu.json --markdown README.md \
    --section benchmark
overview=()
for experiment in digits cifar10_small cifar10_small_long_tailed tiny_imagenet_small tiny_imagenet_small_long_tailed; do
    overview+=("configs/images/compare/results/$experiment.json")
done
"$python" tools/report.py "${overview[@]}" --stages teacher plain kd rkd trg --markdown README.md --section overview_images
for suite in points tokens; do
    "$python" tools/benchmark.py "$suite" --load "tools/benchmarks/results/${suite}_cpu.json" --markdown README.md \
        --section "benchmark_$suite"
done
for suite in kernels modules; do
    "$python" tools/benchmark.py "$suite" --load "tools/benchmarks/results/${suite}_cpu.json" \
        --markdown tools/benchmarks/README.md --section "$suite"
done
own() {  # FOLDER CONFIG SECTION: the table of a method that keeps its results in its own folder
    "$python" tools/report.py "configs/graphs/$1/results/$2.json" --markdown "configs/graphs/$1/README.md" --section "$3"
}
own llp sage_to_mlp_cora cora
own llp sage_to_mlp_digits digits
own ehdm heuristics_to_mlp_cora cora
own mugsi gin_to_mlp_digit_graphs digit_graphs
own glnn bf16_cora_cpf bf16_cora_cpf
own out_of_core sage_to_mlp_synthetic synthetic
"$python" tools/benchmark.py scale --load tools/benchmarks/results/scale_cpu.json \
    --markdown configs/graphs/out_of_core/README.md --section scale
"$python" tools/benchmark.py scale --plan --markdown configs/graphs/out_of_core/README.md --section plan
for experiment in pointpillars_kitti_sample second_kitti_sample; do
    "$python" tools/report.py "configs/points/overfit/results/$experiment.json" --markdown configs/points/overfit/README.md \
        --section "$experiment"
done
for experiment in simulated bf16_simulated; do
    "$python" tools/report.py "configs/points/compare/results/$experiment.json" --markdown configs/points/compare/README.md \
        --section "$experiment"
done
"$python" tools/report.py configs/points/point_distiller/results/guards_simulated.json \
    --markdown configs/points/point_distiller/README.md --section guards_simulated
for results in configs/images/compare/results/*.json; do
    "$python" tools/report.py "$results" --markdown configs/images/compare/README.md --section "$(basename "$results" .json)"
done
for experiment in collapse_digits sweep_digits; do
    results=configs/images/trg/results/$experiment.json
    "$python" tools/report.py "$results" --metric val/accuracy --markdown configs/images/trg/README.md \
        --section "$experiment"
done
modules() {  # EXPERIMENT STAGE...: students assembled from their modules, beside teacher and plain students
    local experiment=$1
    shift
    "$python" tools/report.py "configs/images/m2mkd/results/$experiment.json" --stages "$@" teacher plain longer kd m2mkd \
        m2mkd_reference m2mkd_stitched --markdown configs/images/m2mkd/README.md --section "$experiment"
}
modules vit_digits meta
modules vit_digits_split
modules vmoe_digits
modules nac_digits
"$python" tools/report.py configs/images/m2mkd/results/upcycled_digits.json --markdown configs/images/m2mkd/README.md \
    --section upcycled_digits
"$python" tools/report.py configs/images/m2mkd/results/settings_digits.json --metric val/accuracy \
    --markdown configs/images/m2mkd/README.md --section settings_digits
