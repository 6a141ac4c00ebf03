"""What follows from shapes alone: multiply-adds, operations, bytes and peaks of any module.

Here lives what needs no numbers: a pass over tensors that have none (`shape_tensors`, `recorder`,
`tracing`), what operators do and cost (`effects`, `operations`), parts that do what another one did
(`repeats`), a module left as it was (`module_state`); the figures made of it (`results`, `parts`,
`modules`, and `cost`, the way in); and what stands beside them: other tools (`counters`, `compare`)
and papers (`published`). Nothing here is timed or needs a device.

Sixteen files, because one pass makes all the figures and each file is one step of it.
"""
