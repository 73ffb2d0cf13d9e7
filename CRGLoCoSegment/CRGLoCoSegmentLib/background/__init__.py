"""Work outside Slicer's main thread: processes, threads, and the files between them. No MRML here.

``worker.Worker`` asks the engine, ``training.TrainingRun`` trains, ``arrays`` moves volumes,
``threads.runInThread`` computes, ``session.sessionFolder`` holds what is temporary, and
``ticker.waitUntil`` waits in scripts. All callbacks run on the main thread.
"""
