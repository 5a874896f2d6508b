_base_ = "../../_base_/graphs/citeseer_cpf.py"
title = "TINED on CiteSeer, protocol cpf"
run = ["teacher", "plain", "tined"]
