_base_ = "../../_base_/graphs/citeseer_cpf.py"
title = "NOSMOG on CiteSeer, protocol cpf"
run = ["teacher", "plain", "nosmog"]
