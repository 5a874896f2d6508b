_base_ = "../../_base_/graphs/citeseer_cpf.py"
title = "GLNN on CiteSeer, protocol cpf"
run = ["teacher", "plain", "glnn"]
