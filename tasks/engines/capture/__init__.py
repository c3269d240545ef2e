"""Entropies computed beside vLLM's sampler, on its device, for the whole batch at once.

``reduction`` turns the raw logits of a step into six numbers a row; ``worker`` does so inside
vLLM's worker process around each sampling step and keeps the rows until they are fetched; ``rows``
is what travels; ``collector`` fetches, in our process, and hands each finished request its own.

Nothing here changes vLLM's configuration, so nothing turns off its faster paths: a worker
extension only adds methods to be called, and the sampler is wrapped after the engine has started.
A custom logits processor, the official place, moves vLLM 0.26 from its V2 model runner to V1.
"""
