_base_ = "../../_base_/graphs/cora_links.py"
title = "EHDM: heuristics teach MLPs link prediction on Cora"
