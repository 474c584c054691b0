"""Baselines, one file each; imported as ``varbench.baselines``.

They use the public protocol that plugins use (``varbench.methods``, ``varbench.models``), where
the paper's own two methods are: ``svare`` and ``vare``. ``varbench list methods`` shows all.

========================  ========================================================================
``naive.py``              naive: fine-tuning, each side on its own history
``controls.py``           nft-anchor, nft-distill, nft-ascent: controls of naive fine-tuning
``ac.py``                 ac: concept ablation
``ear.py``                ear: hidden states steered away, scale by scale
``esd.py``                esd: guidance away from the concept, trained in
``first_scale.py``        first-scale: the first scale alone, our reading of SACE
``fmn.py``                fmn: Forget-Me-Not, attention taken off the concept's tokens
``obliviate.py``          obliviate: KL away from the concept on its own roll-outs
``salun.py``              salun: distillation into the salient weights
``uce.py``, ``rece.py``   uce, rece: text matrices edited in closed form
``neg_prompt.py``         neg-prompt: the concept in the place of guidance's null condition
``scaleerasure.py``       scaleerasure: tokens that show the concept steered while sampling
``sld.py``                sld: safe latent diffusion, at scales
``token_alignment.py``    shared: prompts and their neutral twins, token by token
========================  ========================================================================
"""
