// The check calls flash_attention_5_wgmma, and no other launcher.
