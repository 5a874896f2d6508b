_base_ = "../../_base_/graphs/citeseer_public.py"
title = "FF-G2M on CiteSeer, protocol public"
run = ["teacher", "plain", "glnn", "ffg2m", "ffg2m_low", "ffg2m_high"]
