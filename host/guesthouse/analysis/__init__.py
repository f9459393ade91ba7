"""Questions to a recording, one module a question: functions from LazyFrame to LazyFrame.

``load.load`` decodes a recording into tables, ``report.analyze`` asks all questions at once. A
notebook uses the same functions:

    recorded = load("night.rec")
    cpu.shares(recorded.table("cpu"), recorded.table("cpu-quota")).collect()
"""
