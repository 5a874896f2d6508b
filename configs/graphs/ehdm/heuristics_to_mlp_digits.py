_base_ = "../../_base_/graphs/digits_links.py"
title = "EHDM: heuristics teach MLPs link prediction on the digits graph"
