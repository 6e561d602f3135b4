"""What is changed in this process for a block: where connections lead, and which CAs are trusted there.

It is put back at the end. No server and no certificate is made here.
"""
