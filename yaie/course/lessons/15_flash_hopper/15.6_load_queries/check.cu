// The check calls flash_attention_6_overlap, and no other launcher.
