_base_ = "../../_base_/graphs/cora_links.py"
title = "LLP: link prediction on Cora without links"
run = ["teacher", "plain", "llp"]
