_base_ = "../../_base_/graphs/cora_cpf.py"
title = "GLNN on Cora, protocol cpf"
run = ["teacher", "plain", "glnn"]
