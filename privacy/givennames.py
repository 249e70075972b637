"""Given names that are common in the United States and no common words: a hint, not a register."""

_NAMES = """
Aaron Abigail Adam Adrian Ahmed Aisha Alan Albert Alejandro Alex Alexander Alexandra Alice Alicia
Allison Amanda Amber Amy Ana Andrea Andrew Angela Anita Ann Anna Anne Anthony Antonio Arthur
Ashley Barbara Benjamin Bernard Beth Betty Beverly Bobby Bradley Brandon Brenda Brian Bruce Bryan
Caleb Carl Carla Carlos Carmen Carol Caroline Carolyn Catherine Charles Charlotte Cheryl Chloe
Christian Christina Christine Christopher Cindy Claire Clara Connor Craig Crystal Curtis Cynthia
Daniel Danielle David Deborah Debra Denise Dennis Derek Diana Diane Diego Dmitri Dolores Donald
Donna Dorothy Douglas Dylan Edith Edward Eileen Elaine Eleanor Elena Elizabeth Ella Ellen Emily
Emma Eric Erica Ethan Eugene Evelyn Fatima Fernando Frances Francis Frank Gabriel Gary George
Gerald Gloria Gregory Hannah Harold Heather Helen Henry Hiroshi Howard Ian Ibrahim Irene Isaac
Isabella Ivan Jack Jacob Jacqueline James Jamie Jane Janet Janice Jason Javier Jean Jeffrey
Jennifer Jeremy Jerry Jessica Joan Joe Joel John Johnny Jonathan Jordan Jorge Jose Joseph Joshua
Joyce Juan Judith Judy Julia Julie Justin Karen Karl Katherine Kathleen Kathryn Keith Kelly Kenji
Kenneth Kevin Kimberly Kyle Larry Laura Lauren Lawrence Leah Leonard Leslie Lillian Linda Lisa
Logan Lori Louis Lucas Lucy Luis Luke Madison Manuel Marcus Margaret Maria Marie Marilyn Mario
Martha Martin Mary Mateo Matthew Megan Mei Melissa Michael Michelle Miguel Mohammed Monica Nancy
Natalie Nathan Nicholas Nicole Nina Noah Norma Olga Oliver Olivia Omar Oscar Pamela Patricia
Patrick Paul Paula Pedro Peter Philip Phillip Priya Rachel Ralph Ramon Randy Raymond Rebecca
Ricardo Richard Robert Roberto Roger Ronald Rosa Roy Russell Ruth Ryan Samantha Samuel Sandra Sara
Sarah Scott Sean Sergei Sharon Shirley Sofia Sophia Stephanie Stephen Steven Susan Svetlana Tamara
Teresa Theodore Theresa Thomas Timothy Tina Todd Tyler Valerie Vanessa Victor Victoria Vincent
Virginia Walter Wayne Wendy William Xavier Yolanda Yusuf Zachary
"""
GIVEN_NAMES = frozenset(_NAMES.split())
