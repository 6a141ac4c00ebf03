"""What is kept of a device: latencies of layers, and networks predicted from them.

`growth` asks for what a `table` lacks, `turns` times it in a fresh process, `rows` are the lines of
the file; `predictor` predicts a network by the maths of `prediction`, which knows no files;
`remote` is for devices that measure by themselves.
"""
