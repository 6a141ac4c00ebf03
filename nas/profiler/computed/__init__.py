"""What follows from shapes alone: multiply-adds, operations, bytes and peaks of any module, without
numbers.
"""
