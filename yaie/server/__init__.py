"""The engine behind HTTP, in the shapes of OpenAI's interface: `yaie serve`. Needs the extra `yaie[serve]`.

    client --HTTP--> app (asyncio) --calls--> EngineThread (steps while there is work) --chunks--> app --SSE--> client

`protocol` knows what a request may say and what an answer looks like; `engine_thread` knows when the engine works;
`app` puts the two together; `metrics` says how it goes; `command` is what `yaie serve` runs.
"""
