_base_ = "../../_base_/graphs/digits_links.py"
title = "LLP: link prediction on the digits graph without links"
run = ["teacher", "plain", "llp"]
