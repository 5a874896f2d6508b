_base_ = "../../_base_/graphs/cora_cpf.py"
title = "NOSMOG on Cora, protocol cpf"
run = ["teacher", "plain", "nosmog"]
