_base_ = "../../_base_/graphs/cora_cpf.py"
title = "TINED on Cora, protocol cpf"
run = ["teacher", "plain", "tined"]
