_base_ = "../../_base_/graphs/cora_public.py"
title = "FF-G2M on Cora, protocol public"
run = ["teacher", "plain", "glnn", "ffg2m", "ffg2m_low", "ffg2m_high"]
