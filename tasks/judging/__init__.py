"""The rule judge: from a response's text to a verdict, without a language model.

``extract`` finds the final answer, ``compare`` holds it against the reference by answer type,
``symbolic`` asks SymPy in processes that can be killed, ``rules`` puts the three together.
"""
