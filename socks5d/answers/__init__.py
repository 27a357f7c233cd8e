"""
The program C{socks5d}: answers about settings, without serving anybody.

- L{program<socks5d.answers.program>}: its commands and what they print
- L{question<socks5d.answers.question>}: from the options of C{explain} to the requests that
  the server would ask its rules about
- L{explaining<socks5d.answers.explaining>}: what they answer, and why
- L{rows<socks5d.answers.rows>}: settings as a table
"""
