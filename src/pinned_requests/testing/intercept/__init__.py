"""What is changed in this process for the time of a block: where connections lead, and which CAs are trusted there.

Everything is put back at the end of the block. No server and no certificate is made here.
"""
