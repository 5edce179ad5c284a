"""Septet: from crawled pages to vision-language pretraining."""
