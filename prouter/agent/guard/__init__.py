"""Process trees and who ends them: a keeper and its guardians on Linux, process groups elsewhere."""
