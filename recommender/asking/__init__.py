"""Everything between a question about a person and a teacher's answer in the Store.

`requests` are what is asked, `answering` asks one, `labelling` asks many (`work_queue`, `patience`,
`pacing`), `orders`, `rankings`, `tournament` and `grounding` make something of what comes back,
and `evidence` puts it side by side.
"""
