"""Triton kernels for CUDA, one op a file; imported only when one of them runs.

What goes in and comes out is said where the op is (`structkd.ops.<op>`); when one may run, in `launch`. Each kernel
counts in int64 wherever a row number meets a stride, adds up in float32 (float64 for float64), and, being a sum over
compressed rows that one program takes in order, gives the same bits every time.
"""
