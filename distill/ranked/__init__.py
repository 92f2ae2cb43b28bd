"""Importance-aware ranking distillation and collaborative embedding distillation: DLLM2Rec.

    L = L_rec + λ L_d,   L_d = mean over lists of Σ_i w_i [−log σ(s_i)] − mean_j log(1 − σ(s_j))
    w = γ_p w^p + γ_c w^c + γ_o w^o, scaled to sum 1,   e_i = b_i + A z_i

The paper's teacher names the ten best items of the whole catalogue. Labels in our Store are
rankings of the ten or twenty candidates of a request, so here the teacher's list is the
beginning of its ranking of the candidates, and negatives are what it put behind.

What the published code gets wrong, and where it is mended:

- the negative term is log σ(1 − s), one logit off log(1 − σ(s)): `ranking`;
- one negative, from the whole catalogue, which may be on the teacher's own list: `ranking`;
- the confidence of the paper's formula is one number a list, which is nothing once the weights
  of a list are scaled to sum 1; per candidate here, as in the code: `weights`;
- agreement is looked for in a catalogue of which the teacher saw a few items; among the same
  candidates here, without the true item's being known: `weights`;
- a projection of width 4096 and no other, from chance, into the input only; any width, from
  principal components, and one table for input and output here: `embedding`;
- where the base loss is DROS, each item of the list gets a DROS term of its own, to which the
  rest of the catalogue is negative although nobody offered it: left out;
- the reported epoch is chosen on test, with dropout on and what people had before in the
  ranking: chosen on validation here, dropout off, histories masked (`distill.student`);
- teacher and data are joined by line numbers: here by the request that was asked (`lesson`).

Source: Cui et al., "Distillation Matters" (RecSys 2024, 2405.00338); algorithms.md §3.1.
"""
