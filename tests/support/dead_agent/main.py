# A stand-in for an agent that is broken: it ends before it has said anything.
raise OSError("this agent is broken")
